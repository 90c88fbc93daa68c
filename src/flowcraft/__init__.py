"""Flowcraft for Python: workflows as graphs of nodes, in one process, on one machine, on AWS."""

import logging

from flowcraft._installation import warn_of_namesake
from flowcraft.core.blueprint import WorkflowBlueprint
from flowcraft.core.builder import FlowBuilder, create_flow, set_default_runtime_factory
from flowcraft.core.definitions import EdgeDefinition, NodeConfig, NodeDefinition
from flowcraft.core.draw import generate_mermaid
from flowcraft.core.expressions import Evaluator, PropertyEvaluator, SafeEvaluator
from flowcraft.core.graph import BlueprintAnalysis, analyze_blueprint
from flowcraft.core.limits import Limit
from flowcraft.core.lint import LintIssue, LintResult, lint_blueprint
from flowcraft.core.retry_policy import RetryPolicy
from flowcraft.core.state import ErrorInfo, RunStatus
from flowcraft.engine.bus import FlowEvent
from flowcraft.engine.context import CancelToken, NodeContext, SyncNodeContext
from flowcraft.engine.files import BlobReference
from flowcraft.engine.links import Links
from flowcraft.engine.middleware import Middleware
from flowcraft.engine.nodes import Node, NodeResult, node
from flowcraft.engine.options import RuntimeOptions
from flowcraft.engine.registry import Registry
from flowcraft.engine.results import Awaiting, RunResult
from flowcraft.engine.runtime import FlowRuntime
from flowcraft.engine.serializer import JsonSerializer, Serializer
from flowcraft.errors import (
    BlueprintError,
    ExpressionError,
    FlowcraftError,
    ImplementationMissing,
    InputError,
    InvalidRunState,
    NodeTimeout,
    Problem,
    RunCancelled,
    RunFailed,
    SerializationError,
)
from flowcraft.ports.context import AsyncContext

set_default_runtime_factory(FlowRuntime)

warn_of_namesake()

# Who does not configure logging is not shown any, as is the custom for libraries.
logging.getLogger("flowcraft").addHandler(logging.NullHandler())

__all__ = [
    "AsyncContext",
    "Awaiting",
    "BlobReference",
    "BlueprintAnalysis",
    "BlueprintError",
    "CancelToken",
    "EdgeDefinition",
    "ErrorInfo",
    "Evaluator",
    "ExpressionError",
    "FlowBuilder",
    "FlowEvent",
    "FlowRuntime",
    "FlowcraftError",
    "ImplementationMissing",
    "InputError",
    "InvalidRunState",
    "JsonSerializer",
    "Limit",
    "Links",
    "LintIssue",
    "LintResult",
    "Middleware",
    "Node",
    "NodeConfig",
    "NodeContext",
    "NodeDefinition",
    "NodeResult",
    "NodeTimeout",
    "Problem",
    "PropertyEvaluator",
    "Registry",
    "RetryPolicy",
    "RunCancelled",
    "RunFailed",
    "RunResult",
    "RunStatus",
    "RuntimeOptions",
    "SafeEvaluator",
    "SerializationError",
    "Serializer",
    "SyncNodeContext",
    "WorkflowBlueprint",
    "analyze_blueprint",
    "create_flow",
    "generate_mermaid",
    "lint_blueprint",
    "node",
]
