"""The S3 server on loopback, as the benchmarks use it."""

import os
import subprocess


class Server:
    """The S3 server on loopback: its variables, and the number of its requests."""

    # The server keeps all data in memory, and the first touch of that memory would dominate its work. So it allocates
    # and touches `memory` MiB in advance, in one arena.
    KEEPING = {"GLIBC_TUNABLES": "glibc.malloc.arena_max=1:glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=4294967296"}

    def __init__(self, program, latency=0, memory=0, relay=False):
        """Starts the server, or with `relay` a relay in front of the server that AWS_ENDPOINT_URL names."""
        command = [program, "--relay"] if relay else [program, "--memory", str(memory)]
        self.process = subprocess.Popen(command, env=os.environ | self.KEEPING, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.variables = {}
        while len(self.variables) < 5:
            name, value = self.process.stdout.readline().removeprefix("export ").strip().split("=", 1)
            self.variables[name] = value
        self.set_latency(latency)

    def set_latency(self, milliseconds):
        """Sets the additional time of every request."""
        self.requests(milliseconds)

    def requests(self, line=""):
        """Returns the number of requests since the last call."""
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self):
        """Stops the server."""
        self.process.stdin.close()
        self.process.wait()
