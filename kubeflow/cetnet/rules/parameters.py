"""Rules about parameters and their values."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from kubeflow.cetnet.package import Package
from kubeflow.cetnet.steps import root_parameters, steps

_FITS: dict[str, Callable[[Any], bool]] = {
    "STRING": lambda value: isinstance(value, str),
    "BOOLEAN": lambda value: isinstance(value, bool),
    "NUMBER_INTEGER": lambda value: _is_number(value) and float(value).is_integer(),
    "NUMBER_DOUBLE": lambda value: _is_number(value),
    "LIST": lambda value: isinstance(value, list),
    "STRUCT": lambda value: isinstance(value, dict),
}
_PLACEHOLDER = re.compile(r"\{\{\$[^}]*\}?\}?")
_OF_THE_RUN = re.compile(
    r"\{\{\$\.pipeline_(job_(name|resource_name|uuid|create_time_utc|schedule_time_utc)|task_(name|uuid))\}\}"
)
_OF_INPUTS = re.compile(
    r"\{\{\$\.(inputs|outputs)\.(parameters|artifacts)\['([^']+)'\](\.uri|\.path|\.output_file)?\}\}"
)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def parameter_types(package: Package) -> Iterator[str]:
    """Each parameter has a parameterType: the deprecated `type` leaves it unspecified, which the server refuses."""
    found = {"root": root_parameters(package.spec)}
    for step in steps(package.spec):
        for direction in ("input", "output"):
            found[f"{direction} of {step.name}"] = step.declared(direction, "parameters")
    for where, declared in found.items():
        for name, parameter in declared.items():
            if parameter.get("parameterType") not in _FITS or "type" in parameter:
                kind = parameter.get("parameterType", parameter.get("type"))
                yield f"{where}: {name}: found {kind}, expected a parameterType of {', '.join(_FITS)}"


def parameter_defaults(package: Package) -> Iterator[str]:
    """Parameters of the root have a fitting default and a description: without a default a run must give them."""
    for name, parameter in root_parameters(package.spec).items():
        fits = _FITS.get(parameter.get("parameterType", ""))
        if fits is None or not fits(parameter.get("defaultValue")):
            found = f"found the default {parameter.get('defaultValue')!r}"
            yield f"{name}: {found}, expected one of type {parameter.get('parameterType')}"
        if parameter.get("isOptional") is not True or not parameter.get("description"):
            yield f"{name}: found no isOptional or no description, expected both"


def parameter_reach(package: Package) -> Iterator[str]:
    """Each parameter of the root reaches a task, and what a task takes from the root is there, of the same type."""
    declared, reached = root_parameters(package.spec), set()
    for step in steps(package.spec):
        for name, given in step.given("parameters").items():
            source = given.get("componentInputParameter")
            if source is None:
                continue
            reached.add(source)
            wanted = step.declared("input", "parameters").get(name, {}).get("parameterType")
            found = declared.get(source, {}).get("parameterType")
            if found != wanted:
                yield f"task {step.name}: {name}: found {source} of type {found}, expected {wanted}"
    for name in sorted(set(declared) - reached):
        yield f"{name} reaches no task"


def constants(package: Package) -> Iterator[str]:
    """A value is `constant` and fits its type: the driver does not know `constantValue` (`resolve.go`)."""
    for step in steps(package.spec):
        declared = step.declared("input", "parameters")
        for name, given in step.given("parameters").items():
            value = given.get("runtimeValue")
            if value is None:
                continue
            kind = declared.get(name, {}).get("parameterType", "")
            if set(value) != {"constant"}:
                yield f"task {step.name}: {name}: found {', '.join(sorted(value))}, expected constant"
            elif kind in _FITS and not _FITS[kind](value["constant"]):
                yield f"task {step.name}: {name}: found {value['constant']!r}, expected {kind}"


def placeholders(package: Package) -> Iterator[str]:
    """`{{$` is replaced wherever it stands: constants are free of it, or are one whole; arguments name what is declared."""
    for name, parameter in root_parameters(package.spec).items():
        if "{{$" in str(parameter.get("defaultValue")):
            yield f"{name}: found a placeholder in the default"
    for step in steps(package.spec):
        for name, given in step.given("parameters").items():
            value = str(given.get("runtimeValue", {}).get("constant"))
            if "{{$" in value and not _OF_THE_RUN.fullmatch(value):
                yield f"task {step.name}: {name}: found a placeholder inside a constant"
        for argument in [*step.container.get("command", []), *step.container.get("args", [])]:
            for found in _PLACEHOLDER.findall(argument):
                of_inputs = _OF_INPUTS.fullmatch(found)
                known = of_inputs and of_inputs[3] in step.declared(of_inputs[1][:-1], of_inputs[2])
                if found != "{{$}}" and not known and not _OF_THE_RUN.fullmatch(found):
                    yield f"task {step.name}: found {found} in its arguments, which nothing stands for"
