"""Readers that take no precautions while a file is written: no SWMR mode, no switching off of locks. According to
emcee's documentation, with native files such readers fail and stop the chain. Every reader of a container sees a
complete state."""
# requires: science.txt
# store: any
# only: h5lake

import time
from multiprocessing import get_context

import emcee
import numpy as np
from cases import main

SPAWN = get_context("spawn")
WALKERS, STEPS = 32, 300


def likelihood(x):
    return -float(x @ x)


def sample(path):
    """Writes the chain: emcee opens and closes the file at every step."""
    backend = emcee.backends.HDFBackend(path)
    backend.reset(WALKERS, 2)
    sampler = emcee.EnsembleSampler(WALKERS, 2, likelihood, backend=backend)
    sampler.run_mcmc(np.random.default_rng(3).normal(size=(WALKERS, 2)), STEPS, store=True)


def read(path):
    backend = emcee.backends.HDFBackend(path, read_only=True)
    chain, chances = backend.get_chain(), backend.get_log_prob()
    return chain, chances, backend.iteration


def check_emcee(folder):
    sample("warm.h5")
    writer = SPAWN.Process(target=sample, args=("chain.h5",))
    writer.start()
    while writer.is_alive() and not (folder / "chain.h5").exists():
        time.sleep(0.001)
    steps = []
    while writer.is_alive():
        try:
            chain, chances, _ = read("chain.h5")
        except AttributeError as error:
            # The file exists, but emcee's group in it does not yet, and emcee reports that itself.
            assert "must run the sampler" in str(error) and not steps, error
            continue
        # Chain and likelihood are opened one after the other, so that the second may be ahead, but never behind.
        assert len(chain) <= len(chances) and chain.shape[1:] == (WALKERS, 2)
        assert np.allclose(chances[:len(chain)], -(chain**2).sum(-1))
        steps.append(len(chain))
    writer.join()
    assert writer.exitcode == 0 and steps == sorted(steps) and len(set(steps)) > 10, steps
    chain, chances, iteration = read("chain.h5")
    assert iteration == STEPS and np.allclose(chances, -(chain**2).sum(-1))


if __name__ == "__main__":
    main(globals())
