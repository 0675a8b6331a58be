"""Raw data between tasks: one file, because an object store takes minutes for ten thousand small ones."""

import contextlib
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from linnet.files import ArtifactError, new_file
from linnet.walk import walk


def pack(folder: Path, out: Path) -> None:
    """Put the files of `folder` into the tar archive `out`, the same bytes for the same files; whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with new_file(out) as partial, tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, path in sorted(walk(folder).texts().items()):
            entry = tarfile.TarInfo(name)
            entry.size = path.stat().st_size
            with path.open("rb") as file:
                archive.addfile(entry, file)


@contextlib.contextmanager
def unpacked(archive: str) -> Iterator[Path]:
    """The folder that was packed into `archive`, gone after the block.

    Raises:
        ArtifactError: it is no such archive.
    """
    with tempfile.TemporaryDirectory(prefix="linnet-raw-") as scratch:
        folder = Path(scratch) / "raw"
        try:
            with tarfile.open(archive, "r:") as entries:
                entries.extractall(folder, filter="data")
        except (tarfile.TarError, EOFError) as reason:
            raise ArtifactError(
                f"{archive} is not the raw data that ingest packed ({reason}): the copy is damaged; run ingest again "
                "without its cache"
            ) from None
        yield folder
