"""Learning in a heavy child: train, promote, score."""

from dataclasses import asdict, dataclass

from fleet.errors import NotFound
from fleet.organisations import organisation_named
from fleet.runtime import artifacts_dir, dagster_home, open_runtime, tracking_uri
from orchestration import heavy

METRICS = ("rmse_hours", "mae_hours", "baseline_rmse_hours", "interval_hours", "interval_coverage")


@dataclass(frozen=True)
class Learned:
    """The model that was trained (fields of `ml.train.TrainingResult`), and how many robots the champion has scored."""

    training: dict[str, object]
    robots: int
    why_none: str = ""


def learn(organisation: str, seed: int) -> Learned:
    """Train the drive model of `organisation`, promote it if it is better, and score every robot with the champion.

    Carried out twice it makes a second version of the same model, and the same scores.
    """
    # Imported by the child that needs them: seconds and hundreds of megabytes that the worker must not pay.
    from ml.score import score  # noqa: PLC0415  see above
    from ml.train import train  # noqa: PLC0415  see above
    from orchestration.assets.events import report_model  # noqa: PLC0415  see above

    runtime = open_runtime()
    uri = tracking_uri(runtime.settings)
    with runtime.reading() as session:
        organisation_id = organisation_named(session, organisation).id
    heavy.tell((0, 2))
    training = train(
        transaction=runtime.transaction,
        objects=runtime.objects,
        organisation_id=organisation_id,
        tracking_uri=uri,
        artifacts_dir=artifacts_dir(runtime.settings),
        seed=seed,
    )
    version = f"{training.model_name}/{training.model_version}"
    metrics = {name: getattr(training, name) for name in METRICS}
    report_model(dagster_home(runtime.settings), version=version, metrics=metrics)
    heavy.tell((1, 2))
    try:
        rows = score(
            transaction=runtime.transaction,
            objects=runtime.objects,
            organisation_id=organisation_id,
            tracking_uri=uri,
        )
    except NotFound as nobody:
        return Learned(asdict(training), 0, nobody.message)
    return Learned(asdict(training), len(rows))
