"""What MLflow's own client reads of a registered model, as JSON: ``mlflow_client.py URL MODEL [ALIAS FOLDER]``.

Imports nothing of ours: what runs it has none of it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(url: str, model: str, alias: str | None = None, folder: str | None = None) -> None:
    """Print it; fetch the files of the version that `alias` stands for into `folder`."""
    import mlflow
    from mlflow import MlflowClient

    mlflow.set_tracking_uri(url)
    client = MlflowClient(url)
    registered = client.get_registered_model(model)
    versions = {}
    for version in client.search_model_versions(f"name='{model}'"):
        run = client.get_run(version.run_id)
        history = client.get_metric_history(version.run_id, "gates/MB/holds")
        versions[version.version] = {
            "tags": dict(version.tags),
            "source": version.source,
            "status": run.info.status,
            "params": run.data.params,
            "metrics": run.data.metrics,
            "run_tags": run.data.tags,
            "promotions": len(history),
            "reports": [each.path for each in client.list_artifacts(version.run_id, "reports")],
        }
    if alias and folder:
        Path(folder).mkdir(exist_ok=True)
        mlflow.artifacts.download_artifacts(artifact_uri=f"models:/{model}@{alias}", dst_path=folder)
    experiments = [each.experiment_id for each in client.search_experiments()]
    runs = len(client.search_runs(experiments))
    told = {"aliases": registered.aliases, "tags": registered.tags, "versions": versions, "runs": runs}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
