"""What GitHub Actions run exists, and hands over what the scripts read."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/retrain.yml").read_text())


def test_the_workflow_runs_what_is_here_with_what_it_needs() -> None:
    job = WORKFLOW["jobs"]["retrain"]
    commands = "\n".join(step.get("run", "") for step in job["steps"])
    assert "make setup" in commands
    assert "deploy/retrain.sh" in commands
    script = (ROOT / "deploy/retrain.sh").read_text()
    assert all(word in script for word in ("dvc pull", "linnet retrain", "dvc repro", "linnet register", "dvc push"))
    piped = [step for step in job["steps"] if "|" in step.get("run", "")]
    assert piped
    assert all(step["shell"] == "bash" for step in piped), "without it the shell has no pipefail"
    assert {"DVC_REMOTE_URL", "MLFLOW_TRACKING_URI", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= set(job["env"])
    assert set(re.findall(r"\$\{(\w+):-", script)) - {"CI"} <= set(job["env"])  # every runner sets CI
    secret = [name for name, value in job["env"].items() if "KEY" in name or "PASSWORD" in name]
    assert all("secrets." in job["env"][name] for name in secret)
    assert re.search(r'cron: "\d+ \d+ ', (ROOT / ".github/workflows/retrain.yml").read_text())
