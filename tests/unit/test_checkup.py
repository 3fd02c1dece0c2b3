"""The check-up's own reading of tables."""

from pathlib import Path

from coordinator.shell.checkup import NETWORKED, file_system

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/export /home nfs4 rw 0 0
/dev/sdb1 /home/me/local\\040disk xfs rw 0 0
tmpfs /home/other tmpfs rw 0 0
"""


def test_the_file_system_of_a_folder_is_that_of_the_nearest_mount(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    kinds = [file_system(Path(p), mounts) for p in ("/var/x", "/home/me", "/home/me/local disk/x", "/homes")]

    assert kinds == ["ext4", "nfs4", "xfs", "ext4"]
    assert [kind in NETWORKED for kind in kinds] == [False, True, False, False]
    assert file_system(Path("/"), tmp_path / "none") == ""
