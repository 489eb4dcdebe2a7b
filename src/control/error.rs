//! Why a request of the Control API is refused: stable codes, with the numbers that clients of the gRPC API know.

use serde::Serialize;
use utoipa::ToSchema;

/// Why, and which element it is about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{element}: {message}")]
pub struct ControlError {
    /// Stable code.
    pub code: ErrorCode,
    /// Full id of the element, `room/member/endpoint`, or `-` when it is about none.
    pub element: String,
    /// What is wrong, and the cure.
    pub message: String,
}

impl ControlError {
    /// An error about an element.
    pub fn new(code: ErrorCode, element: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code,
            element: element.into(),
            message: message.into(),
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal, $status:literal;)*) => {
        /// Stable code of an error: its text in REST, its number in gRPC.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum ErrorCode {
            $($(#[$doc])* $name,)*
        }

        impl ErrorCode {
            /// All of them, in order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Number in gRPC answers.
            pub fn number(self) -> u32 {
                match self { $(Self::$name => $number,)* }
            }

            /// Text in REST answers.
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// HTTP status (RFC 9110 section 15).
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
        }
    };
}

codes! {
    /// The request has no element.
    NoElement = 1001, "no_element", 400;
    /// The full id and the element do not belong together.
    ElementIdMismatch = 1002, "element_id_mismatch", 400;
    /// There is no such room.
    RoomNotFound = 1003, "room_not_found", 404;
    /// There is no such member.
    MemberNotFound = 1004, "member_not_found", 404;
    /// There is no such endpoint.
    EndpointNotFound = 1005, "endpoint_not_found", 404;
    /// A room has members and hubs, no endpoints of its own.
    NotMemberInSpec = 1007, "not_member_in_spec", 400;
    /// A play endpoint's source is no `local://room/member/endpoint` or `local://room/hub`.
    InvalidSrcUri = 1008, "invalid_src_uri", 422;
    /// A full id has more than three parts.
    ElementIdIsTooLong = 1011, "element_id_is_too_long", 400;
    /// An id is empty, too long or has characters that ids do not have.
    InvalidElementId = 1013, "invalid_element_id", 400;
    /// No element is named.
    EmptyElementsList = 1014, "empty_elements_list", 400;
    /// The room is there already.
    RoomAlreadyExists = 1016, "room_already_exists", 409;
    /// The member is there already.
    MemberAlreadyExists = 1017, "member_already_exists", 409;
    /// The endpoint is there already.
    EndpointAlreadyExists = 1018, "endpoint_already_exists", 409;
    /// A callback's URL has another scheme than `http`, `https` and `grpc`.
    UnsupportedCallbackUrl = 1021, "unsupported_callback_url", 422;
    /// A callback's URL is none.
    InvalidCallbackUrl = 1022, "invalid_callback_url", 422;
    /// A duration that is none.
    InvalidDuration = 1023, "invalid_duration", 422;
    /// A fault of the server.
    UnexpectedError = 2000, "unexpected_error", 500;
    /// The request cannot be read.
    MalformedRequest = 3001, "malformed_request", 400;
    /// The spec says what cannot be.
    InvalidSpec = 3002, "invalid_spec", 422;
    /// A limit of the server is reached.
    LimitReached = 3003, "limit_reached", 429;
    /// The server has no time now.
    Overloaded = 3004, "overloaded", 503;
    /// The key is missing or wrong.
    Unauthorized = 3005, "unauthorized", 401;
    /// No key is configured, so nobody has one.
    ApiDisabled = 3006, "api_disabled", 403;
}
