"""The proof of a device's day over REST (docs/spec/completeness.md)."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from bal.errors import Rejected
from bal.provide.device_days import DayRequest, parse_request
from bal.provide.policy import ClientInfo, may_read
from bal.provide.problem import of_rejected
from infra.http_gateway import Gateway, Refusal, json_response, not_found
from infra.http_operations import operation
from infra.http_services import Services


def routes(gateway: Gateway) -> APIRouter:
    """GET /v1/device-days/{device}/{date}."""
    router = APIRouter()

    @router.get("/v1/device-days/{device}/{date}", **operation("get_device_day"))
    async def get_device_day(request: Request) -> Response:
        async with gateway.caller(request, "readings.read") as caller:
            given = request.path_params
            asked = parse_request(given["date"], request.scope["query_string"])
            services, device = gateway.services, given["device"]
            return json_response(
                await gateway.read(caller, _device_day, services, caller.client, device, asked)
            )

    return router


def _device_day(services: Services, client: ClientInfo, device: str, asked: DayRequest) -> bytes:
    info = services.device(device)
    if info is None or not may_read(client, info.group):
        raise not_found()
    try:
        return services.device_day(info, asked)
    except KeyError:  # erased
        raise not_found() from None
    except Rejected as error:
        if error.code == "close-unknown":
            raise Refusal(of_rejected(error, 404)) from None
        raise
