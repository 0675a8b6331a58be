"""Work beside the main thread, which alone hears signals: they are raised there at once, whatever a library catches."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from linnet.errors import Stopped


@contextmanager
def repeated(action: Callable[[], None], *, every_seconds: float) -> Iterator[None]:
    """Call `action`, which must not raise, every so often while the block lasts; after the block it is not running.

    Only where the block is stopped by a signal is a call that has begun not waited for.
    """
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(every_seconds):
            action()

    thread = threading.Thread(target=repeat, name="linnet-repeated", daemon=True)
    thread.start()
    try:
        yield
    except Stopped:
        ended.set()
        raise
    except BaseException:
        ended.set()
        thread.join()
        raise
    ended.set()
    thread.join()


def attempt(action: Callable[[], None], *, seconds: float) -> None:
    """Call `action`, which must not raise; wait so long for its end, and no longer."""
    thread = threading.Thread(target=action, name="linnet-attempt", daemon=True)
    thread.start()
    thread.join(seconds)
