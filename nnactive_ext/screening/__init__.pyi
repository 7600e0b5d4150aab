from .answers import compare_answers, read_answers, second_looks, write_answers

__all__ = ["compare_answers", "read_answers", "second_looks", "write_answers"]
