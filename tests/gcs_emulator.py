"""gcp-storage-emulator that keeps uploads to the byte: python tests/gcs_emulator.py start ...

Its parser of multipart uploads is that of e-mails, which takes a carriage return at the end of a
file for a part of the line end that follows: one binary file in 256 would arrive a byte short.
"""

import sys

from gcp_storage_emulator import __main__, server


class _Parser(server.BytesParser):
    def parsebytes(self, text, headersonly=False):
        message = super().parsebytes(text, headersonly)
        if message.get_content_type() == "multipart/related":
            mark = b"--" + message.get_boundary().encode()
            part = text.split(mark, 2)[2].rpartition(mark)[0]
            line_end = b"\r\n" if part.startswith(b"\r\n") else b"\n"
            content = part.split(2 * line_end, 1)[1].removesuffix(line_end)
            message.get_payload(1).set_payload(content.decode("ascii", "surrogateescape"))
        return message


if __name__ == "__main__":
    server.BytesParser = _Parser
    sys.exit(__main__.main())
