"""What this machine can do, and the one line that mends each lack."""

from darkit_nb.doctor.checks import examine
from darkit_nb.doctor.report import Check, DoctorReport

__all__ = ["Check", "DoctorReport", "examine"]
