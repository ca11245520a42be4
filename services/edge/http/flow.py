"""Flow control of one connection: reading is paused while bytes that were read before wait to be parsed."""

from uvicorn.protocols.http.flow_control import FlowControl


class HeldFlow(FlowControl):
    """uvicorn's flow control, which resumes reading at every answer, except while `is_held`. One a connection."""

    is_held = False

    def resume_reading(self) -> None:
        """Resume reading, unless `is_held`."""
        if not self.is_held:
            super().resume_reading()
