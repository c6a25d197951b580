//! Reading a delivery's headers and body, within limits.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};

use super::error::ApiError;
use crate::model::event::Headers;

/// How long a body may take to arrive, from its first byte to its last. Tests do not wait that long.
pub const BODY_TIMEOUT: Duration = if cfg!(test) {
    Duration::from_millis(200)
} else {
    Duration::from_secs(10)
};
/// Headers of one delivery.
const HEADERS_MAX: usize = 100;
/// Names and values of all headers of one delivery, together.
const HEADER_BYTES_MAX: usize = 32 << 10;

/// The headers as `sources` and the store take them.
pub fn headers(map: &HeaderMap) -> Result<Headers, ApiError> {
    let bytes: usize = map
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if HEADERS_MAX < map.len() || HEADER_BYTES_MAX < bytes {
        return Err(ApiError::HeadersTooLarge);
    }
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    Ok(Headers(
        map.iter()
            .map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes())))
            .collect(),
    ))
}

/// A body that was not read to its end.
#[derive(Debug)]
pub struct Unread {
    /// Why.
    pub error: ApiError,
    /// Its length in bytes as announced, otherwise what came of it.
    pub bytes: u64,
}

/// The length that the sender announces, in bytes.
pub fn announced(map: &HeaderMap) -> Option<u64> {
    map.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The whole body, if it is small and quick enough.
pub async fn read(map: &HeaderMap, body: Body, bytes_max: usize) -> Result<Bytes, Unread> {
    let announced = announced(map);
    if let Some(bytes) = announced.filter(|it| (bytes_max as u64) < *it) {
        let error = ApiError::PayloadTooLarge(bytes_max);
        return Err(Unread { error, bytes });
    }
    let mut arrived = 0;
    let collected = collect(body, announced, bytes_max, &mut arrived);
    tokio::time::timeout(BODY_TIMEOUT, collected)
        .await
        .unwrap_or(Err(ApiError::BodyTooSlow))
        .map_err(|error| Unread {
            error,
            bytes: announced.unwrap_or(arrived as u64),
        })
}

/// `arrived` is told how many bytes came, also when this is given up.
async fn collect(
    mut body: Body,
    announced: Option<u64>,
    bytes_max: usize,
    arrived: &mut usize,
) -> Result<Bytes, ApiError> {
    // Most bodies come in one piece, which is then used as it is.
    let Some(first) = next(&mut body).await? else {
        return Ok(Bytes::new());
    };
    let mut whole: Option<BytesMut> = None;
    *arrived = first.len();
    if bytes_max < *arrived {
        return Err(ApiError::PayloadTooLarge(bytes_max));
    }
    while let Some(piece) = next(&mut body).await? {
        *arrived += piece.len();
        if bytes_max < *arrived {
            return Err(ApiError::PayloadTooLarge(bytes_max));
        }
        let whole = whole.get_or_insert_with(|| {
            // Room for what is there, not for what a sender only announces.
            let announced = announced
                .and_then(|it| usize::try_from(it).ok())
                .unwrap_or(0);
            let mut whole = BytesMut::with_capacity(
                announced
                    .min(4 * first.len())
                    .max(first.len() + piece.len()),
            );
            whole.extend_from_slice(&first);
            whole
        });
        whole.extend_from_slice(&piece);
    }
    Ok(whole.map_or(first, BytesMut::freeze))
}

/// The next piece that is not a trailer.
async fn next(body: &mut Body) -> Result<Option<Bytes>, ApiError> {
    loop {
        match poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
            None => return Ok(None),
            Some(Err(_)) => return Err(ApiError::BodyCutOff),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.is_empty() => (),
                Ok(data) => return Ok(Some(data)),
                Err(_trailers) => (),
            },
        }
    }
}
