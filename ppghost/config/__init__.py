"""PaddleClas YAML and `-o` overrides become one checked, frozen configuration."""
