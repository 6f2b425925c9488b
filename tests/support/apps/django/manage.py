"""A Django project in one file."""

import os
import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse
from django.urls import path

settings.configure(
    DEBUG=True,
    SECRET_KEY="test",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=[".localhost", *os.environ.get("PROXY_HOSTS", "").split(",")],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
)
urlpatterns = [path("", lambda request: HttpResponse("django"))]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
