"""Writes the traces of an archive into one file. Each begins with a line of form feed, name and length."""
import sys
import tarfile

with tarfile.open(sys.argv[1]) as archive:
    for member in sorted(archive.getmembers(), key=lambda each: each.name):
        if not member.isfile():
            continue
        trace = archive.extractfile(member).read()
        sys.stdout.buffer.write(b"\f%s %d\n" % (member.name.encode(), len(trace)))
        sys.stdout.buffer.write(trace)
