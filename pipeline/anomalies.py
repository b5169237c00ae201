"""What TFDV found in the data that no model should come of, as one error."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from absl import logging
from tensorflow_metadata.proto.v0 import anomalies_pb2

from cetnet_keras.errors import GateRefused, InputError
from pipeline.split_statistics import mean_of, split_statistics

_SHOWN = 3


def refuse_anomalies(folders: Mapping[str, Path], allow: bool) -> None:
    """Raises InputError if any split has anomalies, naming column, finding and split; with `allow` they are logged.

    Args:
        folders: where ExampleValidator wrote each split's anomalies.
        allow: whether the run goes on.
    """
    found = [f"{split}: {text}" for split, folder in folders.items() for text in anomalies_in(folder)]
    for text in found:
        logging.warning("Anomaly in %s", text)
    if found and not allow:
        more = f" and {len(found) - _SHOWN} more (see the log)" if len(found) > _SHOWN else ""
        listed = "; ".join(found[:_SHOWN])
        raise InputError(
            f"the data contradict the schema: {listed}{more}; mend the data, or run with --allow-anomalies"
        )


def refuse_one_class(statistics: Path, splits: Iterable[str], label: str, allow: bool) -> None:
    """Raises GateRefused where a split has rows of one class alone: nothing can be learnt, chosen or measured there.

    Args:
        statistics: what StatisticsGen wrote.
        splits: those to look at.
        label: the column.
        allow: whether the run goes on; it is logged then.
    """
    for split in splits:
        found = split_statistics(statistics, split)
        if mean_of(found, label) in (0, 1):
            which = "each" if mean_of(found, label) else "none"
            text = f"{which} of the {int(found.num_examples):,} rows of the {split} split is a click"
            logging.warning("%s", text)
            if not allow:
                cure = "give it rows of both, or run with --allow-anomalies"
                raise GateRefused(f"{text}, expected both labels ({label} 0 and 1); {cure}")


def refuse_without_weight(statistics: Path, splits: Iterable[str], weight: str) -> None:
    """Raises InputError where no row of a split counts.

    Args:
        statistics: what StatisticsGen wrote.
        splits: those to look at.
        weight: the column, of numbers from 0.
    """
    for split in splits:
        found = split_statistics(statistics, split)
        if mean_of(found, weight) == 0:
            text = f"{weight}: found 0 in each of the {int(found.num_examples):,} rows of the {split} split"
            raise InputError(
                f"{text}, expected rows that count; give rows a weight above 0, or leave `weight` out"
            )


def anomalies_in(folder: Path) -> list[str]:
    """What ExampleValidator found in a split, a line a column."""
    anomalies = anomalies_pb2.Anomalies()
    anomalies.ParseFromString((folder / "SchemaDiff.pb").read_bytes())
    found = [f"{column}: {info.description}" for column, info in sorted(anomalies.anomaly_info.items())]
    if anomalies.HasField("dataset_anomaly_info"):
        found.append(anomalies.dataset_anomaly_info.description)
    return found
