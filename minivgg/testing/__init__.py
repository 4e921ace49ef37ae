"""What judges the rest: the gradient check, and the checks that every record is put through."""

from minivgg.testing.gradients.check import gradcheck, gradgradcheck
from minivgg.testing.gradients.report import Diagnosis, GradcheckError, GradcheckReport, InputReport
from minivgg.testing.operations import OperationReport, check_operation, gradcheck_all

__all__ = [
    "Diagnosis", "GradcheckError", "GradcheckReport", "InputReport", "OperationReport", "check_operation", "gradcheck", "gradcheck_all", "gradgradcheck",
]  # fmt: skip
