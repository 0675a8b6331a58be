"""What kfp.local prints, without its bookkeeping."""

import io

from pipelines.console import WithoutBookkeeping

LOG = """Executing task 'check'
    [KFP Executor 2026-11-21 02:18:51,436 INFO]: Looking for component `check`
    [KFP Executor 2026-11-21 02:18:51,436 INFO]: Got executor_input:
    {
        "inputs": {
            "parameterValues": {
                "recipe": "{"
            }
        }
    }
    birds-tiny: good
    {this is a task's own line}

    [KFP Executor 2026-11-21 02:18:53,076 INFO]: Wrote executor output file to /x/executor_output.json.
Task 'check' finished"""


def test_the_executors_bookkeeping_is_left_out_and_nothing_else() -> None:
    out = io.StringIO()
    stream = WithoutBookkeeping(out)
    for start in range(0, len(LOG), 7):  # lines arrive in segments
        stream.write(LOG[start : start + 7])
    stream.write("\n")
    assert out.getvalue().splitlines() == [
        "Executing task 'check'",
        "    birds-tiny: good",
        "    {this is a task's own line}",
        "Task 'check' finished",
    ]
