"""Test steps: the types of the table in .ci/steps.py, and the choice of steps for a run."""

import dataclasses
import os
import re
import shlex

# The runs that include a step, unless it is named: every run, runs under continuous integration too, or none.
ALWAYS, CI, LONG = "always", "ci", "long"
# The source of a step's counts: a JUnit file that the command writes, the 'test result:' lines of cargo, or the exit
# status.
JUNIT, CARGO, ONE = "junit", "cargo", "one"

VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


class Unknown(Exception):
    """No step, group or store has this name."""


@dataclasses.dataclass(frozen=True)
class Store:
    """A server that steps run on: `on` is the start of the command that starts it and ends it, `connector` is the connector
    string for its URL, and `group` is the group of the steps that run on it."""

    on: str
    connector: str
    group: str


@dataclasses.dataclass(frozen=True)
class Step:
    """One row of the table, or one step after `expand`.

    `command` is a command line with the quoting of a shell, or a list of them: the next one runs if the one before
    succeeds. The words {on} and {connector} stand for those of a store, {sample} for --sample in a run of all steps,
    and ${NAME:-VALUE} for a variable of the environment. `minutes` is the expected time on two cores: the longest step
    is started first. With `stores` the row is one step for each store, and {store} in its name is the store's name.
    `needs` names steps that run before it, also in a run of its group; `after` names steps that end before it begins if
    they run anyway. `groups` names the groups of the step, by default that of its store."""

    name: str
    command: object
    minutes: float
    when: str = ALWAYS
    counts: str = JUNIT
    stores: str = ""
    needs: str = "plugin"
    after: str = ""
    groups: str = None

    @property
    def commands(self):
        """Returns the command lines."""
        return [self.command] if isinstance(self.command, str) else self.command

    @property
    def before(self):
        """Returns the names of the steps that end before this one begins, if they run."""
        return {*self.needs.split(), *self.after.split()}

    def is_in(self, group):
        """Returns whether the step is in a group."""
        return group in (self.groups or "").split()

    def words(self, sample):
        """Returns the commands as lists of words. With `sample`, steps omit cases that another step of a run of all
        steps covers."""
        def filled(line):
            line = line.replace("{sample}", "--sample" if sample else "")
            return shlex.split(VARIABLE.sub(lambda found: os.environ.get(found[1]) or found[2], line))

        return [filled(line) for line in self.commands]

    def variables(self):
        """Returns the names of the environment variables that change what the step runs."""
        return {name for line in self.commands for name, _ in VARIABLE.findall(line)} - {"CARGO_TARGET_DIR"}


def expand(rows, stores):
    """Returns the steps of the rows of a table, by name."""
    steps = {}
    for row in rows:
        for step in _on_stores(row, stores) if row.stores else [row]:
            if step.name in steps:
                raise ValueError(f"two steps are called {step.name}")
            steps[step.name] = step
    return steps


def _on_stores(row, stores):
    for name in row.stores.split():
        store = stores[name]
        commands = [line.replace("{on}", store.on).replace("{connector}", shlex.quote(store.connector)) for line in row.commands]
        yield dataclasses.replace(row, name=row.name.replace("{store}", name), command=commands,
                                  groups=store.group if row.groups is None else row.groups)


def usual(steps, in_ci):
    """Returns the steps of a run of all steps, the longest first, because at the end no other step is left to run
    beside a long one."""
    chosen = [step for step in steps.values() if step.when == ALWAYS or (in_ci and step.when == CI)]
    return sorted(chosen, key=lambda step: -step.minutes)


def named(steps, names):
    """Returns the steps with these names, in this order."""
    unknown = [name for name in names if name not in steps]
    if unknown:
        raise Unknown(f"no step is called {', '.join(unknown)}: see '.ci/test --list'")
    return [steps[name] for name in names]


def of_groups(steps, groups):
    """Returns the steps of these groups in the order of the table, with the steps that they need."""
    for group in groups:
        if not any(step.is_in(group) for step in steps.values()):
            raise Unknown(f"no step is in a group {group}: see '.ci/test --list'")
    members = [step for step in steps.values() if any(step.is_in(group) for group in groups)]
    needed = {name for step in members for name in step.needs.split()}
    return [step for step in steps.values() if step in members or step.name in needed]
