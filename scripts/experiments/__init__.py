"""Finished studies, one file each: what is trained, what is measured, the table, the picture."""
