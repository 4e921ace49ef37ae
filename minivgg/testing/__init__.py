"""What judges the rest: the gradient check, and the checks that every record is put through."""

from minivgg.testing.gradcheck import gradcheck, gradgradcheck
from minivgg.testing.operations import OperationReport, check_operation, gradcheck_all
from minivgg.testing.report import GradcheckError, GradcheckReport, InputReport

__all__ = ["GradcheckError", "GradcheckReport", "InputReport", "OperationReport", "check_operation", "gradcheck", "gradcheck_all", "gradgradcheck"]
