"""The words and phrases of which `prompts` makes sentences, in English and Chinese."""

from inference.pocket.data.motions import Kind, Speed

DIRECTIONS: dict[Kind, tuple[str, ...]] = {
    "left": ("left", "to the left", "leftwards", "towards the left", "leftward"),
    "right": ("right", "to the right", "rightwards", "towards the right", "rightward"),
    "up": ("up", "upwards", "upward", "to the top", "towards the sky"),
    "down": ("down", "downwards", "downward", "to the bottom", "towards the ground"),
}
OPPOSITE: dict[Kind, Kind] = {"left": "right", "right": "left", "up": "down", "down": "up"}
PAN_VERBS = ("pan", "move", "turn", "glide", "slide", "sweep", "drift", "travel", "shift", "look", "swing", "go")
UPRIGHT_VERBS = ("tilt", "rise", "climb", "pan", "move", "crane", "go", "look")
SLIDE_VERBS = ("slides", "moves", "drifts", "glides", "shifts", "scrolls", "floats")
CAMERAS = ("camera", "the camera", "the view", "our view", "the shot", "the lens", "a camera", "the frame")
PICTURES = ("the picture", "the image", "the scene", "everything", "the whole picture", "the photo")
OTHERS: dict[Kind, tuple[str, ...]] = {
    "in": (
        "zoom in", "zooms in", "zooming in", "zoom into the picture", "dolly in", "push in", "move closer",
        "come nearer", "get closer", "approach", "move forward", "fly forward", "the picture grows", "close in",
        "magnify", "enlarge", "camera moves towards the subject", "a zoom in",
    ),
    "out": (
        "zoom out", "zooms out", "zooming out", "zoom away", "dolly out", "pull back", "pull out", "move away",
        "move back", "back away", "fly backward", "the picture shrinks", "move backwards", "widen the view",
        "camera moves away from the subject", "reveal more", "a zoom out", "retreat",
    ),
    "clockwise": (
        "rotate clockwise", "turn clockwise", "spin clockwise", "clockwise rotation", "rotating clockwise",
        "the picture turns clockwise", "twist clockwise", "rotate to the right", "rotate", "turn like a clock",
        "a clockwise turn", "everything spins clockwise", "rotates clockwise", "tilt clockwise",
    ),
    "counterclockwise": (
        "rotate counter-clockwise", "rotate counterclockwise", "rotate anticlockwise", "turn anti-clockwise",
        "spin counterclockwise", "counterclockwise rotation", "anticlockwise rotation", "rotate to the left",
        "the picture turns counter-clockwise", "twist anticlockwise", "rotating counterclockwise",
        "a counter-clockwise turn", "everything spins anticlockwise", "rotates counter-clockwise",
    ),
    "still": (
        "hold still", "still", "static", "stay still", "no motion", "static camera", "a still picture", "nothing moves",
        "do not move", "the camera does not move", "freeze", "frozen", "motionless", "keep still", "fixed camera",
        "stand still", "remain still", "no camera movement", "a static shot", "without any movement",
        "locked camera", "don't move",
    ),
}  # fmt: skip
SPEEDS: dict[Speed, tuple[str, ...]] = {
    "slow": (
        "slowly", "slow", "gently", "at a slow pace", "very slowly", "gradually", "softly", "a little", "calmly",
        "slightly", "smoothly and slowly", "with a slow motion",
    ),
    "normal": ("", "", "", "steadily", "at a normal speed", "evenly"),
    "fast": (
        "fast", "quickly", "rapidly", "swiftly", "at high speed", "very fast", "speedily", "in a hurry", "quick",
        "with a fast motion", "briskly", "very quickly",
    ),
}  # fmt: skip

DIRECTIONS_ZH: dict[Kind, str] = {"left": "左", "right": "右", "up": "上", "down": "下"}
PAN_VERBS_ZH = ("移动", "平移", "摇", "移", "转", "滑动", "运动")
CAMERAS_ZH = ("镜头", "摄像机", "相机", "视角", "摄影机")
PICTURES_ZH = ("画面", "图片", "图像", "整个画面")
OTHERS_ZH: dict[Kind, tuple[str, ...]] = {
    "in": ("放大", "拉近", "推近", "镜头推进", "靠近", "向前推进", "镜头拉近", "推镜头", "变焦放大", "画面放大"),
    "out": ("缩小", "拉远", "镜头拉远", "后退", "向后拉", "远离", "拉镜头", "镜头后退", "变焦缩小", "画面缩小"),
    "clockwise": ("顺时针旋转", "顺时针转动", "画面顺时针旋转", "镜头顺时针旋转", "顺时针转", "旋转"),
    "counterclockwise": ("逆时针旋转", "逆时针转动", "画面逆时针旋转", "镜头逆时针旋转", "逆时针转", "反时针旋转"),
    "still": ("静止不动", "保持不动", "不要动", "镜头固定", "静止", "固定镜头", "画面静止", "没有运动", "保持静止"),
}
SPEEDS_ZH: dict[Speed, tuple[str, ...]] = {
    "slow": ("缓慢", "慢慢", "缓缓", "慢速", "慢慢地", "缓慢地", "轻轻地"),
    "normal": ("", "", "", "匀速", "平稳地"),
    "fast": ("快速", "迅速", "飞快", "快速地", "高速", "很快地", "迅速地"),
}

SUBJECTS = (
    "a cat", "a dog", "a boat", "a small sailing boat", "a mountain", "a city street", "a house", "a tree", "flowers",
    "a woman", "a man", "a child", "an astronaut", "a cup of coffee", "a rocket", "a motorcycle", "a horse", "a bridge",
    "a garden", "the sea", "a lake", "a forest", "clouds", "a bird", "a car", "a train", "an old castle", "a painting",
    "a landscape", "a portrait", "a market", "a beach", "a drawing", "waves", "a field", "snow", "rain", "a river",
)  # fmt: skip
SCENES = (
    "at sunset", "in the morning light", "in the rain", "on a sunny day", "at night", "in winter", "in the fog",
    "by the water", "in soft light", "in bright colours", "with a blue sky", "in the style of a painting",
    "under the stars", "in spring", "with great detail", "in a quiet room", "over a calm sea", "in the wind",
)  # fmt: skip
SUBJECTS_ZH = (
    "一只猫",
    "一条船",
    "山",
    "城市街道",
    "一座房子",
    "一棵树",
    "花",
    "一个女人",
    "一个男人",
    "海",
    "湖",
    "森林",
    "云",
    "汽车",
)
SCENES_ZH = (
    "在日落时",
    "在雨中",
    "在阳光下",
    "在夜晚",
    "在冬天",
    "在雾中",
    "在水边",
    "风景优美",
    "色彩鲜艳",
    "细节丰富",
)
OPENINGS = ("", "", "", "a video of ", "a film of ", "a clip of ", "a photo of ", "a shot of ", "animate ")
LETTERS = "etaoinshrdlucmfwypvbgkqjxz"
POLITE = ("", "", "", "", "please ", "let ", "make ", "now ")
