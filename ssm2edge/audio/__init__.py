"""Sound in front of a model: log-mel frames, recordings, and words heard in a stream.  numpy and the runtime alone."""

from __future__ import annotations

from ssm2edge.audio.listening import Gate, Heard, Listener
from ssm2edge.audio.log_mel import LogMel, LogMelStream
from ssm2edge.audio.recordings import FrontEnd, Listened, listen
from ssm2edge.audio.wav import read_recording, read_wav

__all__ = ["FrontEnd", "Gate", "Heard", "Listened", "Listener", "LogMel", "LogMelStream", "listen", "read_recording", "read_wav"]
