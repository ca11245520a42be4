"""Tells whether a prompt asks for a motion that the pocket model knows. `demo` and `arguments` use it.

The words are those of the prompts that the pocket model was trained on; a test compares the two.
"""

import re

_VERBS = (
    "pan", "mov", "turn", "glid", "slid", "sweep", "drift", "travel", "shift", "look", "swing", "go", "tilt", "ris",
    "climb", "cran", "scroll", "float",
)  # fmt: skip
_ENDINGS = "(?:e|es|s|ed|ing|ned|ning|led|ling)?"
_VERB = re.compile(rf"\b(?:{'|'.join(_VERBS)}){_ENDINGS}\b")
_CAMERA = re.compile(r"\b(?:camera|view|shot|lens|frame)\b")
_DIRECTION = re.compile(r"\b(?:left|right|up|down)(?:wards?)?\b|\bto(?:wards)? the (?:top|bottom|sky|ground)\b")
_ALONE = re.compile(
    r"\b(?:"
    r"pan(?:s|ned|ning)?|tilt(?:s|ed|ing)?|zoom(?:s|ed|ing)?|dolly(?:ing)?|dollies|spin(?:s|ning)?|twist(?:s|ed|ing)?"
    r"|rotat(?:e|es|ed|ing|ion)|(?:counter|anti)?clockwise|turns? like a clock"
    r"|closer|nearer|approach(?:es|ing)?|magnif(?:y|ies|ied|ying)|enlarg(?:e|es|ed|ing)"
    r"|push(?:es|ing)? in|clos(?:e|es|ing) in|pull(?:s|ing)? (?:back|out)|back(?:s|ing)? away|retreat(?:s|ing)?"
    r"|(?:mov|fly)(?:e|es|s|ing)? (?:forward|backward|back|away|towards)s?|flies (?:forward|backward)s?"
    r"|(?:picture|image|scene|photo) (?:grow|shrink)s?|widens? the view|reveals? more"
    r"|still|static|freez(?:e|es|ing)|frozen|motionless|fixed camera|locked camera"
    r"|nothing moves|(?:not|dont|doesnt|without|no) (?:any )?(?:camera )?(?:move(?:ment|s)?|motion)"
    r")\b"
)
_CHINESE = re.compile(
    "放大|拉近|推近|推进|靠近|推镜头|缩小|拉远|后退|向后拉|远离|拉镜头|旋转|时针转"
    "|静止|不动|不要动|固定|没有运动"
    "|[向往朝][左右上下].*(?:移|摇|转|滑|运动)|(?:移|摇|转|滑|运动).*[向往朝][左右上下]"
)


def asks_for_motion(prompt: str) -> bool:
    """Return whether a prompt has words, English or Chinese, for a motion that the pocket model was trained on.

    Standing still is such a motion.
    """
    text = re.sub(r"[-'’]", "", prompt.lower())
    if _ALONE.search(text) or _CHINESE.search(text):
        return True
    return bool(_VERB.search(text) and (_DIRECTION.search(text) or _CAMERA.search(text)))
