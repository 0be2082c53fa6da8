import os
import signal
import subprocess
import sys

import pytest

from actloc.errors import Stopped
from actloc.signals import StopFlag


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_only_recorded(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopFlag() as flag:
        flag.raise_if_set()
        os.kill(os.getpid(), number)
        assert flag.is_set
        with pytest.raises(Stopped) as stopped:
            flag.raise_if_set()
    assert stopped.value.status == 128 + number
    assert signal.getsignal(number) is before


def test_a_second_interrupt_exits_immediately() -> None:
    code = (
        "import os, signal\nfrom actloc.signals import StopFlag\n"
        "with StopFlag():\n    os.kill(os.getpid(), signal.SIGINT)\n    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('still here')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 130
    assert done.stdout == ""
