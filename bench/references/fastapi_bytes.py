"""The floor for a cached list: a FastAPI route that checks the JWT and returns bytes that it already has."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, FastAPI, HTTPException, Response
from fastapi.security import OAuth2PasswordBearer
from jose import JWTError, jwt

from bench.references import ReferenceSettings


def create_app() -> FastAPI:
    """The application, for `uvicorn --factory`."""
    settings = ReferenceSettings.load()
    app = FastAPI()
    bearer = OAuth2PasswordBearer(tokenUrl="token")
    # One object for all requests: sending it changes nothing in it.
    answer = Response(settings.body, media_type="application/json")

    async def current_user(token: Annotated[str, Depends(bearer)]) -> UUID:
        try:
            return UUID(jwt.decode(token, settings.jwt_key, algorithms=["HS256"])["sub"])
        except JWTError:
            raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"}) from None

    @app.get("/todos/", dependencies=[Depends(current_user)])
    async def list_todos() -> Response:
        return answer

    return app
