"""A call of the operating system fails in one process during a flush: no element is lost, and the processes agree."""

import pytest
from launch import HERE, compile_program, preload, run


@pytest.mark.parametrize("ranks", [2, 3])
def test_each_call_of_a_flush_fails_once(suite, work, ranks):
    if suite.connector.files == "native":
        pytest.skip("after an error native HDF5 promises nothing")
    if "store=" in suite.connector.string and "file:" not in suite.connector.string:
        pytest.skip("the calls of a client of a store are not those of a file")
    folder = work / f"failing-calls-{ranks}"
    folder.mkdir()
    program = compile_program(suite.hdf5, HERE / "programs" / "failing_calls.c", work / "failing_calls-in-c")
    text = run(suite, ["mpiexec", "-n", ranks, program], folder, LD_PRELOAD=preload(work, "failing_calls"))
    failed = [int(line.split()[-3]) for line in text.splitlines() if line.endswith("calls failed")]
    assert len(failed) == ranks * 2 * 3 and sum(failed) > 0, text
