"""The example for Kubernetes offers what the executor that it names asks for."""

import json
import shlex
from pathlib import Path
from typing import Any

import yaml

from pipelines import compose
from pipelines.plan_pools import NodeKind
from pipelines.pools import check_pools

MANIFEST = Path(__file__).parents[2] / "conf/kuberay/ray_job.yaml"


def kind(group: dict[str, Any]) -> NodeKind:
    """The node that a group's pod becomes in Ray."""
    own = json.loads(json.loads(group["rayStartParams"]["resources"]))
    (container,) = group["template"]["spec"]["containers"]
    limits = container["resources"]["limits"]
    assert limits == container["resources"]["requests"]  # Ray goes by the limits
    resources = {"CPU": float(limits["cpu"]), "GPU": float(limits.get("nvidia.com/gpu", 0))}
    return NodeKind(group.get("minReplicas", 1), {**resources, **own}, {})


def test_every_pool_finds_room_on_the_pods_that_there_are_at_first() -> None:
    spec = yaml.safe_load(MANIFEST.read_text())["spec"]
    program, name, *words = shlex.split(spec["entrypoint"])
    output = words.index("-o")
    paths, settings = [words[0]], words[output + 2 :]
    assert (program, words[output + 1]) == ("gemma3n", "/shared/out")
    keys = compose.keys_of_config(compose.compose(name))
    overrides, _ = compose.overrides_of(name, keys, settings, paths)
    job = compose.to_settings(name, compose.compose(name, overrides))
    cluster = spec["rayClusterSpec"]
    kinds = [kind(cluster["headGroupSpec"]), *map(kind, cluster["workerGroupSpecs"])]
    for pool, _ in check_pools(job):
        asked = getattr(job.executor.pools, pool)
        assert any(one.count * (one.room(asked) or 0) >= asked.min for one in kinds), pool
    assert job.executor.address == "auto"  # the cluster that comes with the job
