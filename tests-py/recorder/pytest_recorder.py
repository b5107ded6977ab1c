"""A pytest plugin (-p pytest_recorder) that writes every outcome down; see recording."""

import recording

recording.watch()


def pytest_collection_modifyitems(config, items):
    done = recording.done
    if not done:
        recording.write(collected=[item.nodeid for item in items])
    left_out = [item for item in items if item.nodeid in done]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item.nodeid not in done]


def pytest_collectreport(report):
    if report.failed:
        recording.write(broken=report.nodeid, detail=str(report.longrepr)[-1500:])


def pytest_runtest_logstart(nodeid):
    recording.write(start=nodeid)


def pytest_runtest_logreport(report):
    outcome = report.outcome
    if hasattr(report, "wasxfail"):
        outcome = "skipped"  # expected to fail, by the suite itself
    if report.when == "call" or outcome != "passed":
        recording.write(outcome=outcome, test=report.nodeid, when=report.when,
                        detail=str(report.longrepr or "")[-1500:])


def pytest_runtest_logfinish(nodeid):
    recording.write(end=nodeid)
