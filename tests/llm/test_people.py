"""People answer in files or at the terminal; what they see says nothing about who asks."""

import io
import json

import numpy as np
import pytest
from test_teachers_pool import pool, question

from activeduel.llm.config import TeacherOptions
from activeduel.llm.teachers import Waiting, make
from activeduel.llm.teachers.people import label_in_terminal
from activeduel.llm.teachers.people_files import QUESTIONS, READABLE, TYPED, keep, open_questions
