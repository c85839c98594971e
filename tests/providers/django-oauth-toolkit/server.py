"""An identity provider for the interoperability tests: Django OAuth Toolkit, set up by what a test sends.

Comes in: one line of JSON on stdin, see `SETTINGS` below. Goes out: one line of JSON on stdout, `{"issuer": …}`, when it
serves. It ends when stdin does, so that none outlives its test. Its state is in memory, and it serves one request at a time.
"""

import json
import os
import sys
import threading
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

SETTINGS = {
    "clients": [],  # client_id, client_secret, grant, redirect_uris, post_logout_redirect_uris
    "access_token_seconds": 600,
    "accounts": {},  # claims by name; all with the password `let me in`
}
SETTINGS |= json.loads(sys.stdin.readline())
PASSWORD = "let me in"


def end_with_stdin():
    sys.stdin.read()
    os._exit(0)


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


class Server(WSGIServer):
    application = None

    def get_app(self):
        return self.application


server = make_server("127.0.0.1", 0, None, server_class=Server, handler_class=Quiet)
ISSUER = f"http://127.0.0.1:{server.server_port}/o"

from cryptography.hazmat.primitives import serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: E402
from django.conf import settings  # noqa: E402

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)

settings.configure(
    SECRET_KEY="of this process alone",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
    LOGGING_CONFIG=None,
    LOGIN_URL="/login/",
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "oauth2_provider",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    OAUTH2_PROVIDER={
        "OIDC_ENABLED": True,
        "OIDC_ISS_ENDPOINT": ISSUER,
        "OIDC_RSA_PRIVATE_KEY": KEY.decode(),
        "OIDC_RP_INITIATED_LOGOUT_ENABLED": True,
        "OIDC_RP_INITIATED_LOGOUT_ALWAYS_PROMPT": False,
        "OAUTH2_VALIDATOR_CLASS": f"{__name__}.Validator",
        "PKCE_REQUIRED": True,
        "ROTATE_REFRESH_TOKEN": True,
        "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": 0,
        "REFRESH_TOKEN_REUSE_PROTECTION": True,
        "ACCESS_TOKEN_EXPIRE_SECONDS": SETTINGS["access_token_seconds"],
        "ALLOWED_REDIRECT_URI_SCHEMES": ["https"],
        "SCOPES": {name: name for name in ["openid", "profile", "email", "offline_access", "read", "write"]},
        "DEFAULT_SCOPES": [],
    },
)

# The validator is named by a string, so that this file must be a module by that name.
sys.modules.setdefault(__name__, sys.modules["__main__"])

import django  # noqa: E402

django.setup()

from django.contrib.auth import authenticate, get_user_model, login  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpResponse, HttpResponseRedirect  # noqa: E402
from django.urls import include, path  # noqa: E402
from django.utils.html import escape  # noqa: E402
from oauth2_provider.models import get_application_model  # noqa: E402
from oauth2_provider.oauth2_validators import OAuth2Validator  # noqa: E402


class Validator(OAuth2Validator):
    """Puts the claims of an account into ID tokens and userinfo."""

    oidc_claim_scope = None

    def get_additional_claims(self, request):
        name = request.user.get_username()
        claims = {"name": name, "email": f"{name}@example.test", "groups": []}
        return {"preferred_username": name} | claims | SETTINGS["accounts"].get(name, {})


def sign_in(request):
    """A form, where the library leaves the sign-in to the application."""
    if request.method == "POST":
        user = authenticate(request, username=request.POST["username"], password=request.POST["password"])
        if user:
            login(request, user)
            return HttpResponseRedirect(request.POST["next"])
    target = escape(request.GET.get("next", "/"))
    return HttpResponse(
        f'<form method="post" action="/login/"><input type="hidden" name="next" value="{target}">'
        '<input name="username"><input type="password" name="password"><button>Sign in</button></form>'
    )


urlpatterns = [path("login/", sign_in), path("o/", include("oauth2_provider.urls", namespace="oauth2_provider"))]

call_command("migrate", verbosity=0)
for account in SETTINGS["accounts"]:
    get_user_model().objects.create_user(account, password=PASSWORD)
for client in SETTINGS["clients"]:
    get_application_model().objects.create(
        name=client["client_id"],
        client_id=client["client_id"],
        client_secret=client["client_secret"],
        hash_client_secret=False,
        client_type="confidential",
        authorization_grant_type=client["grant"],
        redirect_uris=" ".join(client.get("redirect_uris", [])),
        post_logout_redirect_uris=" ".join(client.get("post_logout_redirect_uris", [])),
        algorithm="RS256",
        skip_authorization=True,
    )

asked = {}
serve = get_wsgi_application()


def application(environ, start_response):
    """Counts what was asked for; `GET /asked` tells."""
    target = environ["PATH_INFO"]
    if target == "/asked":
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(asked).encode()]
    asked[target] = asked.get(target, 0) + 1
    return serve(environ, start_response)


server.application = application
threading.Thread(target=end_with_stdin, daemon=True).start()
print(json.dumps({"issuer": ISSUER}), flush=True)
server.serve_forever()
