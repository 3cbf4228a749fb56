"""For context, bound to nothing: the way that the tutorials of FastAPI and SQLModel write it."""

from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import OAuth2PasswordBearer
from jose import JWTError, jwt
from sqlalchemy import DateTime
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bench.references import ReferenceSettings

PAGE = 20


class _Fields(SQLModel):
    id: UUID = Field(primary_key=True)
    title: str
    description: str | None
    due_at: datetime | None = Field(sa_type=DateTime(timezone=True))
    completed: bool
    completed_at: datetime | None = Field(sa_type=DateTime(timezone=True))
    created_at: datetime = Field(sa_type=DateTime(timezone=True))
    updated_at: datetime = Field(sa_type=DateTime(timezone=True))
    version: int


class ReferenceTodo(_Fields, table=True):
    """The copied table."""

    __tablename__ = "todos"
    __table_args__ = ({"schema": "reference"},)

    owner_id: UUID


class TodoPage(SQLModel):
    """What the route answers with."""

    items: list[_Fields]
    next_cursor: str | None


def create_app() -> FastAPI:
    """The application, for `uvicorn --factory`."""
    settings = ReferenceSettings.load()
    engine = create_async_engine(
        settings.database_url.replace("postgresql://", "postgresql+asyncpg://", 1),
        pool_size=settings.connections,
        max_overflow=0,
    )
    bearer = OAuth2PasswordBearer(tokenUrl="token")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await engine.dispose()

    app = FastAPI(lifespan=lifespan)

    async def current_user(token: Annotated[str, Depends(bearer)]) -> UUID:
        try:
            return UUID(jwt.decode(token, settings.jwt_key, algorithms=["HS256"])["sub"])
        except JWTError:
            raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"}) from None

    async def open_session() -> AsyncIterator[AsyncSession]:
        async with AsyncSession(engine) as session:
            yield session

    @app.get("/todos/", response_model=TodoPage)
    async def list_todos(
        user: Annotated[UUID, Depends(current_user)], session: Annotated[AsyncSession, Depends(open_session)]
    ) -> dict[str, Any]:
        statement = (
            select(ReferenceTodo)
            .where(ReferenceTodo.owner_id == user)
            .order_by(col(ReferenceTodo.created_at).desc(), col(ReferenceTodo.id).desc())
            .limit(PAGE + 1)
        )
        todos = (await session.exec(statement)).all()
        next_cursor = None
        if len(todos) > PAGE:
            last = todos[PAGE - 1]
            next_cursor = urlsafe_b64encode(f"{last.created_at.isoformat()} {last.id}".encode()).decode()
        return {"items": todos[:PAGE], "next_cursor": next_cursor}

    return app
