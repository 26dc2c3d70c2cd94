"""Prompts and steering, live from the model."""

from fastapi import APIRouter

router = APIRouter()
