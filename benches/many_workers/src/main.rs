//! `h5lake-many-workers`: workers that commit to one container in a simulated remote store, each as a process of its
//! own would. Prints a table: commits per second, their durations, the requests and conflicts of each commit, and the
//! evenness of the workers' shares.
#![forbid(unsafe_code)]

mod server;
mod worker;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use server::Server;
use worker::{Outcome, Worker};

/// The regions that the workers write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Regions {
    /// Each worker writes a chunk of its own, in one dataset.
    Chunks,
    /// Each worker writes rows of its own; two workers share a chunk.
    Rows,
    /// Each worker writes a dataset of its own.
    Datasets,
    /// All workers write the same row.
    Same,
}

#[derive(Debug, Parser)]
struct Arguments {
    /// The numbers of workers, one simulation for each number.
    #[arg(long, value_delimiter = ',', default_value = "1,10,100,1000")]
    workers: Vec<usize>,
    /// The duration of a request, in milliseconds.
    #[arg(long, default_value_t = 20)]
    latency: u64,
    /// The number of requests that the store accepts per second; 0 for no limit.
    #[arg(long, default_value_t = 0)]
    requests: u32,
    /// The duration of the commits of each simulation, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// The factor by which the simulation is slowed down; displayed times are divided by it. Each worker represents a
    /// machine of its own, so the load of all workers on this machine's processors counts by that factor less.
    #[arg(long, default_value_t = 1)]
    slower: u32,
    /// The regions that the workers write.
    #[arg(long, value_enum, default_value_t = Regions::Chunks)]
    regions: Regions,
}

fn simulate(workers: usize, a: &Arguments) -> Result<String, String> {
    let slower = f64::from(a.slower.max(1));
    let latency = Duration::from_millis(a.latency) * a.slower.max(1);
    let server = Arc::new(Server::new(latency, f64::from(a.requests) / slower));
    worker::create(&server, workers, a.regions)?;
    let open = |n| {
        let server = &server;
        move || Worker::open(server, n, a.regions)
    };
    let opened = beside_each_other((0..workers).map(open))?;
    let (before, throttled) = (server.requests.each_ref().map(count), count(&server.throttled));
    let begun = Instant::now();
    let end = begun + Duration::from_secs(a.seconds) * a.slower.max(1);
    let outcomes = beside_each_other(opened.into_iter().map(|mut w| move || w.commit_until(end)))?;
    let seconds = begun.elapsed().as_secs_f64() / slower;
    let mut requests = server.requests.each_ref().map(count);
    requests.iter_mut().zip(before).for_each(|(now, before)| *now -= before);
    worker::check(&server, &outcomes, a.regions)?;
    Ok(row(&outcomes, (seconds, slower), requests, count(&server.throttled) - throttled))
}

fn count(n: &std::sync::atomic::AtomicU64) -> u64 {
    n.load(Ordering::Relaxed)
}

/// Runs each item in a thread of its own. Returns the results, or the first error.
fn beside_each_other<T: Send, F: FnOnce() -> Result<T, String> + Send>(
    works: impl Iterator<Item = F>,
) -> Result<Vec<T>, String> {
    thread::scope(|scope| {
        let threads: Vec<_> = works.map(|work| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a worker panicked".into())))
            .collect()
    })
}

/// The cost of a million requests at Amazon's S3, in dollars: puts and lists, reads, deletes.
const DOLLARS_A_MILLION: [f64; 3] = [5.0, 0.4, 0.0];

fn row(outcomes: &[Outcome], (seconds, slower): (f64, f64), requests: [u64; 3], throttled: u64) -> String {
    let mut times: Vec<f64> = outcomes.iter().flat_map(|o| o.times.iter().copied()).collect();
    times.sort_by(f64::total_cmp);
    let at = |part: usize| {
        times.get(times.len().saturating_sub(1) * part / 100).copied().unwrap_or(0.0) * 1e3 / slower
    };
    let commits = times.len().max(1) as f64;
    let conflicts: u64 = outcomes.iter().map(|o| o.conflicts).sum();
    let dollars: f64 = requests.iter().zip(DOLLARS_A_MILLION).map(|(n, price)| *n as f64 * price).sum();
    let requests: u64 = requests.iter().sum();
    let shares = || outcomes.iter().map(|o| o.times.len());
    format!(
        "| {} | {:.1} | {:.0} | {:.0} | {:.1} | {:.0} | {:.0} | {:.2} | {}–{} |",
        outcomes.len(),
        commits / seconds,
        at(50),
        at(99),
        requests as f64 / commits,
        dollars / commits,
        100.0 * throttled as f64 / requests.max(1) as f64,
        conflicts as f64 / commits,
        shares().min().unwrap_or(0),
        shares().max().unwrap_or(0),
    )
}

fn main() -> Result<(), String> {
    let a = Arguments::parse();
    println!("{} ms a request, at most {} requests/s (0: no bound), {:?}", a.latency, a.requests, a.regions);
    println!(
        "| workers | commits/s | median ms | 99 % ms | requests | $ a million | throttled % | conflicts | each |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for workers in &a.workers {
        println!("{}", simulate(*workers, &a)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The simulation itself checks that each worker's last commit is in the container.
    #[test]
    fn all_commits_are_there_whatever_the_workers_write() {
        for regions in [Regions::Chunks, Regions::Rows, Regions::Datasets, Regions::Same] {
            let a =
                Arguments { workers: vec![6], latency: 2, requests: 5000, seconds: 1, slower: 1, regions };
            assert!(simulate(6, &a).unwrap().starts_with("| 6 | "), "{regions:?}");
        }
    }
}
