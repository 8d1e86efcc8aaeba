"""How to run: one dataclass per job and per group. These are the truth; YAML holds what differs.

No torch, no Ray, no Hydra here: help, config errors and the path check read only these files and
the settings of the stages.
"""

from gemma3n.choices import FLOAT16, NO_FLOAT16, Device, Pack, Precision
from pipelines.settings.doctor import DoctorJob
from pipelines.settings.executor import (
    ExecutorKind,
    ExecutorSettings,
    PoolSettings,
    PoolsSettings,
)
from pipelines.settings.export import ExportJob, Runtime, Weights
from pipelines.settings.jobs import (
    BenchJob,
    EvaluateJob,
    Machine,
    Measured,
    MergeJob,
    Normaliser,
    PathJob,
    Peer,
    PlanJob,
    QuantizeJob,
    SliceJob,
    SourceJob,
    Task,
)
from pipelines.settings.model import (
    ModelSettings,
    NestedSettings,
    Part,
    PlePlacement,
    PleSettings,
    PolicyKind,
    PolicySettings,
)
from pipelines.settings.report import EmbedSettings, ReportJob, RunsSettings
from pipelines.settings.training import (
    BatchSettings,
    JointSettings,
    LoraSettings,
    LossSettings,
    QatSettings,
    RateSettings,
    TrainJob,
    Trains,
    WorkerKind,
    WorkersSettings,
)

__all__ = [
    "REFUSED",
    "SAVED",
    "SCHEMAS",
    "BatchSettings",
    "BenchJob",
    "Device",
    "DoctorJob",
    "EmbedSettings",
    "EvaluateJob",
    "ExecutorKind",
    "ExecutorSettings",
    "ExportJob",
    "JointSettings",
    "LoraSettings",
    "LossSettings",
    "Machine",
    "Measured",
    "MergeJob",
    "ModelSettings",
    "NestedSettings",
    "Normaliser",
    "Pack",
    "Part",
    "PathJob",
    "Peer",
    "PlanJob",
    "PlePlacement",
    "PleSettings",
    "PolicyKind",
    "PolicySettings",
    "PoolSettings",
    "PoolsSettings",
    "Precision",
    "QatSettings",
    "QuantizeJob",
    "RateSettings",
    "ReportJob",
    "RunsSettings",
    "Runtime",
    "SliceJob",
    "SourceJob",
    "Task",
    "TrainJob",
    "Trains",
    "Weights",
    "WorkerKind",
    "WorkersSettings",
]

# What people ask for and cannot have, with the reason.
REFUSED = {f"precision={name}": NO_FLOAT16 for name in FLOAT16}

# The names by which a job's YAML asks for one of these, as the first of its `defaults`.
SCHEMAS: dict[str, type] = {
    "train_job": TrainJob,
    "path_job": PathJob,
    "evaluate_job": EvaluateJob,
    "plan_job": PlanJob,
    "slice_job": SliceJob,
    "quantize_job": QuantizeJob,
    "merge_job": MergeJob,
    "export_job": ExportJob,
    "bench_job": BenchJob,
    "report_job": ReportJob,
    "doctor_job": DoctorJob,
}

SAVED = (PathJob, EvaluateJob, TrainJob)  # those whose runs keep a config.yaml
