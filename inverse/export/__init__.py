"""Runs as files of other programs: ParaView, Blender, and whatever reads meshes or USD."""

from inverse.export.config import ExportJob as ExportJob
from inverse.export.export import export_run as export_run


__all__ = ["ExportJob", "export_run"]
