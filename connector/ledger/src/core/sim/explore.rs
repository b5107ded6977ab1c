//! Schedules: all of them breadth-first, or random ones by seed.

use std::collections::hash_map::{DefaultHasher, Entry};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::time::{Duration, Instant};

use super::scenarios::Scenario;
use super::steps::Step;
use super::world::World;

/// The maximum length of a random history, in steps.
const LONGEST: usize = 80;

/// A history that broke an invariant.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) what: &'static str,
    pub(super) labels: Vec<String>,
    pub(super) scenario: &'static str,
    /// The seed of a random history; 0 for the shortest of all histories.
    pub(super) seed: u64,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, after {} steps:", self.what, self.labels.len())?;
        for (n, label) in self.labels.iter().enumerate() {
            writeln!(f, "{:>4}. {label}", n + 1)?;
        }
        let (scenario, seed) = (self.scenario, self.seed);
        let test = "cargo test -p h5lake-ledger --lib core::sim::replays_a_history -- --nocapture";
        match seed {
            0 => writeln!(f, "replay: explore '{scenario}' again"),
            _ => writeln!(f, "replay: H5LAKE_SIM_REPLAY='{scenario}:{seed}' {test}"),
        }
    }
}

/// Pseudo-random numbers from a seed (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ z >> 31) * n as u128) >> 64) as usize
    }

    /// Chooses one of the steps; rare steps are chosen less often.
    fn choose(&mut self, steps: &[Step]) -> Step {
        let step = steps[self.below(steps.len())];
        if step.is_rare() && self.below(8) > 0 { steps[self.below(steps.len())] } else { step }
    }
}

fn history(first: &World, seed: u64, mut each: impl FnMut(&World, Step)) -> (World, usize) {
    let mut world = first.clone();
    world.encodes.0 = seed.is_multiple_of(16);
    let mut chance = Chance(seed);
    let mut steps = Vec::new();
    let mut taken = 0;
    while taken < LONGEST && world.oracle.bad.is_none() {
        world.steps(true, &mut steps);
        if steps.is_empty() {
            break;
        }
        let step = chance.choose(&steps);
        each(&world, step);
        world.take(step);
        taken += 1;
    }
    (world, taken)
}

/// Runs random histories, one for each seed; returns how many steps were taken.
pub(super) fn random_histories(scenario: &'static Scenario, seeds: Range<u64>) -> Result<usize, Failure> {
    let first = World::new(scenario);
    let mut all = 0;
    for seed in seeds {
        let (world, taken) = history(&first, seed, |_, _| ());
        all += taken;
        if let Some(what) = world.oracle.bad {
            let (labels, _) = replay(scenario, seed);
            return Err(Failure { what, labels, scenario: scenario.name, seed });
        }
    }
    Ok(all)
}

/// Searches random histories for one that breaks an invariant.
///
/// # Errors
/// The other invariants that broke, with the number of histories that broke each of them.
pub(super) fn search(
    scenario: &'static Scenario,
    seeds: Range<u64>,
    expected: &str,
) -> Result<Failure, BTreeMap<&'static str, usize>> {
    let first = World::new(scenario);
    let mut other_failures = BTreeMap::new();
    for seed in seeds {
        match history(&first, seed, |_, _| ()).0.oracle.bad {
            Some(what) if what == expected => {
                let (labels, _) = replay(scenario, seed);
                return Ok(Failure { what, labels, scenario: scenario.name, seed });
            }
            Some(what) => *other_failures.entry(what).or_default() += 1,
            None => (),
        }
    }
    Err(other_failures)
}

/// Replays one random history; returns its steps and the invariant that it broke.
pub(super) fn replay(scenario: &'static Scenario, seed: u64) -> (Vec<String>, Option<&'static str>) {
    let mut labels = Vec::new();
    let (world, _) = history(&World::new(scenario), seed, |world, step| labels.push(world.label(step)));
    (labels, world.oracle.bad)
}

/// The result of a breadth-first search.
#[derive(Debug)]
pub(super) struct Explored {
    pub(super) states: usize,
    steps: usize,
    /// The number of steps up to which all schedules were explored.
    pub(super) depth: usize,
    is_complete: bool,
    time: Duration,
    pub(super) failure: Option<Failure>,
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = if self.is_complete { "all states" } else { "all schedules" };
        let (states, steps, depth) = (self.states, self.steps, self.depth);
        write!(f, "{states:>8} states {steps:>9} steps, {all} of {depth:>2} steps, {:.1?}", self.time)
    }
}

fn fingerprint(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

/// Explores all schedules until `limit` states were seen.
pub(super) fn breadth_first(scenario: &'static Scenario, limit: usize) -> Explored {
    let begun = Instant::now();
    let first = World::new(scenario);
    let root = fingerprint(&first);
    let mut parents: HashMap<u64, (u64, u32)> = HashMap::from([(root, (root, 0))]);
    let mut level = vec![(root, first)];
    let (mut steps, mut taken, mut depth, mut failed) = (Vec::new(), 0, 0, None);
    'levels: while !level.is_empty() && parents.len() < limit {
        let mut below = Vec::new();
        for (parent, world) in &level {
            world.steps(false, &mut steps);
            for (n, step) in steps.iter().enumerate() {
                let mut next = world.clone();
                next.take(*step);
                taken += 1;
                let print = fingerprint(&next);
                let Entry::Vacant(free) = parents.entry(print) else { continue };
                free.insert((*parent, n as u32));
                if let Some(what) = next.oracle.bad {
                    failed = Some((what, print));
                    break 'levels;
                }
                below.push((print, next));
            }
            if parents.len() >= limit {
                break 'levels;
            }
        }
        depth += 1;
        level = below;
    }
    let is_complete = level.is_empty();
    let failure = failed.map(|(what, print)| Failure {
        what,
        labels: trace(scenario, &parents, root, print),
        scenario: scenario.name,
        seed: 0,
    });
    Explored { states: parents.len(), steps: taken, depth, is_complete, time: begun.elapsed(), failure }
}

fn trace(
    scenario: &'static Scenario,
    parents: &HashMap<u64, (u64, u32)>,
    root: u64,
    mut print: u64,
) -> Vec<String> {
    let mut path = Vec::new();
    while print != root {
        let (parent, step) = parents[&print];
        path.push(step);
        print = parent;
    }
    let mut world = World::new(scenario);
    let mut steps = Vec::new();
    let mut labels = Vec::new();
    for n in path.into_iter().rev() {
        world.steps(false, &mut steps);
        let step = steps[n as usize];
        labels.push(world.label(step));
        world.take(step);
    }
    labels
}

impl World {
    /// Describes a step.
    fn label(&self, step: Step) -> String {
        let name = |p: usize| ['A', 'B', 'C', 'D'][p];
        let sequence = self.head.sequence;
        let swap = |i: usize| {
            let sent = &self.net[i];
            let what = if sent.is_cancel { "cancel record".into() } else { format!("{:?}", sent.task.op) };
            format!(
                "the swap of {} ({what}) takes effect: manifest {}",
                name(sent.actor),
                sent.manifest.sequence
            )
        };
        match step {
            Step::Effect(i) => swap(i),
            Step::Answered(i) => swap(i) + ", and is answered",
            Step::Lose(i) => format!("the swap of {} is lost", name(self.net[i].actor)),
            Step::Look(p) => format!("{} loads manifest {sequence}", name(p)),
            Step::Start(p, t) => {
                let late = if t.is_late { ", a copy of its object is late" } else { "" };
                let of = format!("version {}, choice {}", t.version, t.choice);
                format!("{} loads {sequence}, begins {:?} (value {}; {of}{late})", name(p), t.op, t.id)
            }
            Step::Sweep(p) => format!("the sweep of {} continues at manifest {sequence}", name(p)),
            Step::Lead(p) => format!("{} leads the queue over manifest {sequence}", name(p)),
            Step::Abandon(p) => format!("{} abandons its change", name(p)),
            Step::Crash(p) => format!("{} crashes, and starts again", name(p)),
            Step::Delete(object) => format!("{object:?} is deleted"),
            Step::Late(i) => format!("a late copy of {:?} arrives", self.late[i].0),
            Step::Open(version) => format!("a reader opens version {version}"),
        }
    }
}
