"""Flowcraft for Python: workflows as graphs of nodes, in one process, on one machine, on AWS."""

from flowcraft.core.blueprint import EdgeDefinition, NodeDefinition, WorkflowBlueprint
from flowcraft.core.builder import create_flow
from flowcraft.core.draw import generate_mermaid
from flowcraft.core.expressions import PropertyEvaluator, SafeEvaluator
from flowcraft.core.graph import analyze_blueprint
from flowcraft.core.lint import lint_blueprint
from flowcraft.core.retry_policy import RetryPolicy
from flowcraft.core.state import RunStatus
from flowcraft.engine.bus import FlowEvent
from flowcraft.engine.context import CancelToken, NodeContext, SyncNodeContext
from flowcraft.engine.middleware import Middleware
from flowcraft.engine.nodes import Node, NodeResult, node
from flowcraft.engine.registry import Registry
from flowcraft.engine.results import RunResult
from flowcraft.engine.runtime import FlowRuntime, RuntimeOptions
from flowcraft.engine.serializer import JsonSerializer
from flowcraft.errors import FlowcraftError
