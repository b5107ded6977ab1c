"""A sampler writes its chain with emcee's HDFBackend, which opens and closes the file at every step, while another
process opens and reads it as fast as it can: without the SWMR flag and without switching off locks. Prints the
findings as one line of JSON.

    chain.py PATH OPENS       until the reader has opened the file OPENS times, and has seen it grow"""

import json
import multiprocessing
import sys
import time

import emcee
import numpy as np

spawn = multiprocessing.get_context("spawn")
WALKERS, STEPS = 8, 50
# The reader must see at least this number of different lengths of the chain.
LENGTHS = 20
# The number of seconds after which the test stops as hung.
PATIENCE = 600


def likelihood(x):
    return -float(x @ x)


def sample(path, begun, stop, answers):
    """Runs STEPS steps at a time until it gets the signal to stop."""
    backend = emcee.backends.HDFBackend(path)
    backend.reset(WALKERS, 2)
    state = np.random.default_rng(3).normal(size=(WALKERS, 2))
    sampler = emcee.EnsembleSampler(WALKERS, 2, likelihood, backend=backend)
    while not stop.is_set():
        state = sampler.run_mcmc(state, STEPS, store=True)
        begun.set()
    answers.put(int(backend.iteration))


class Reading(emcee.backends.HDFBackend):
    """A backend that counts how often it opened its file, and how often that failed."""

    opens = failed = 0

    def open(self, mode="r"):
        self.opens += 1
        try:
            return super().open(mode)
        except Exception as error:
            self.failed += 1
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            raise


def look(backend, last):
    """Returns the present chain, whether it is torn, and whether it has lost an earlier part."""
    chain, chances = backend.get_chain(), backend.get_log_prob()
    # The two are opened one after the other, so that the second may be ahead, but never behind.
    whole = len(chain) <= len(chances) and np.allclose(chances[:len(chain)], -(chain**2).sum(-1), rtol=1e-12)
    kept = len(chain) >= len(last) and np.array_equal(chain[:len(last)], last)
    return chain, int(not whole), int(not kept)


def read(path, opens):
    backend = Reading(path, name="mcmc", read_only=True)
    torn = shrunk = 0
    last, lengths = np.empty((0, WALKERS, 2)), set()
    end = time.time() + PATIENCE
    while (backend.opens < opens or len(lengths) < LENGTHS) and time.time() < end:
        try:
            chain, is_torn, has_shrunk = look(backend, last)
        except OSError:
            continue  # counted
        torn, shrunk, last = torn + is_torn, shrunk + has_shrunk, chain
        lengths.add(len(chain))
    return {"opens": backend.opens, "failed": backend.failed, "torn": torn, "shrunk": shrunk, "lengths": len(lengths)}


def main(path, opens):
    begun, stop, answers = spawn.Event(), spawn.Event(), spawn.Queue()
    writer = spawn.Process(target=sample, args=(path, begun, stop, answers))
    writer.start()
    if not begun.wait(PATIENCE):
        sys.exit("the sampler does not begin")
    begin = time.time()
    found = read(path, opens)
    seconds = time.time() - begin
    disturbed = not writer.is_alive()
    stop.set()
    steps = None if disturbed else answers.get(timeout=PATIENCE)
    writer.join(PATIENCE)
    if disturbed or writer.exitcode != 0:
        sys.exit(f"the sampler ended with {writer.exitcode}")
    end = len(Reading(path, read_only=True).get_chain())
    return {**found, "lost": int(end != steps), "steps": steps, "seconds": round(seconds, 1)}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]))))
