"""Readers of the file formats of Gaussians; `renderers.splats.files` chooses among them."""
