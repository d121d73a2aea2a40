"""A finished run as one page."""

from luss_mm.visualization.report.page import report_is_current, report_page, write_report

__all__ = ['report_is_current', 'report_page', 'write_report']
