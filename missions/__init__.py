"""What an operator asks for, from request to result: lifecycle, planning, dispatch, feedback, recovery."""
