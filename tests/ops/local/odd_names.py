"""Names of folders that shells, supervisord and nats-server could each misread."""

ODD = ["ünï 猫", "50% off", """it's a "quoted" $x""", "back\\slash"]
