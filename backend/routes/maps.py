"""The published SAEs."""

from fastapi import APIRouter

router = APIRouter()
