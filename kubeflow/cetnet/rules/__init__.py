"""What an open-source Kubeflow Pipelines v2 backend demands of a package, as a list of rules with ids.

Sources: kubeflow/pipelines, releases 2.4.1 to 2.17 (the API server's template parser `v2_template.go`, the Argo compiler
`visitor.go` and `dag.go`, the driver's `resolve.go`, the launcher), and the validation of argo-workflows.
"""

from kubeflow.cetnet.package import Package
from kubeflow.cetnet.rules import containers, graph, parameters, platform, structure, tasks
from kubeflow.cetnet.rules.rule import Rule

_STRUCTURE = (  # the others can only be asked of a package that keeps these
    Rule("strict-proto", structure.strict_proto),
    Rule("schema-version", structure.schema_version),
    Rule("root-dag", structure.root_dag),
    Rule("references", graph.references),
)
RULES = (
    *_STRUCTURE,
    Rule("pipeline-name", structure.pipeline_name),
    Rule("pipeline-root", structure.pipeline_root),
    Rule("kebab-ids", structure.kebab_ids),
    Rule("task-info", structure.task_info),
    Rule("producers", graph.producers),
    Rule("acyclic", graph.acyclic),
    Rule("inputs-given", graph.inputs_given),
    Rule("parameter-types", parameters.parameter_types),
    Rule("parameter-defaults", parameters.parameter_defaults),
    Rule("parameter-reach", parameters.parameter_reach),
    Rule("constants", parameters.constants),
    Rule("placeholders", parameters.placeholders),
    Rule("iterators", tasks.iterators),
    Rule("conditions", tasks.conditions),
    Rule("caching", tasks.caching),
    Rule("retries", tasks.retries),
    Rule("executor-kinds", containers.executor_kinds),
    Rule("commands", containers.commands),
    Rule("environment", containers.environment),
    Rule("resources", containers.resources),
    Rule("argument-size", containers.argument_size),
    Rule("platform-labels", platform.platform_labels),
    Rule("platform-fields", platform.platform_fields),
)


def broken_rules(package: Package) -> list[str]:
    """A line `id: what was found, what was expected` for each breach; [] for a sound package."""
    found = [line for rule in _STRUCTURE for line in rule.broken_by(package)]
    return found or [line for rule in RULES for line in rule.broken_by(package)]


__all__ = ["RULES", "Rule", "broken_rules"]
