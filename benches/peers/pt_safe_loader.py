"""pt-safe-loader with its limits raised as far as the measured files need."""
import os
import sys

from pt_loader import PtCheckpoint

most = 1 << 40
loaded = PtCheckpoint.load(sys.argv[1], max_archive_bytes=most, max_tensor_bytes=most, max_pickle_bytes=most, max_tensor_count=1 << 30, strict_contiguous=False)
loaded.export(filename=os.path.basename(sys.argv[2]), dir=os.path.dirname(sys.argv[2]), overwrite=True)
