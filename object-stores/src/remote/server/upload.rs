//! An object that is put in parts. The parts form an upload that is not visible, and the final put of the object names
//! the upload.

use std::sync::Arc;

use async_trait::async_trait;
use object_store::client::HttpRequestBody;
use object_store::path::Path;
use object_store::{MultipartUpload, PutPayload, PutResult, UploadPart};
use reqwest::Method;

use super::super::StoreResult;
use super::client::{Ask, ServerClient, generic};
use super::objects::{place, put_result};

/// An upload. The server knows it from its first part on.
#[derive(Debug)]
pub(super) struct Upload {
    client: Arc<ServerClient>,
    key: Path,
    /// The path of the upload, below the protocol's version.
    place: String,
    id: String,
    length: u64,
}

impl Upload {
    pub(super) fn new(client: Arc<ServerClient>, key: Path) -> StoreResult<Upload> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|e| generic(e.to_string().into()))?;
        let id = format!("{:032x}", u128::from_be_bytes(random));
        Ok(Upload { client, key, place: format!("/uploads/{id}"), id, length: 0 })
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        let offset = self.length;
        self.length += part.content_length() as u64;
        let ask =
            Ask::new(Method::PUT, &self.place).query("offset", offset).body(HttpRequestBody::from(part));
        let client = self.client.clone();
        Box::pin(async move { client.ask(ask).await.map(drop) })
    }

    async fn complete(&mut self) -> StoreResult<PutResult> {
        let ask = Ask::new(Method::PUT, &place(&self.key));
        let ask = ask.query("upload", &self.id).query("length", self.length);
        put_result(&self.client.ask(ask).await?)
    }

    async fn abort(&mut self) -> StoreResult<()> {
        match self.client.ask(Ask::new(Method::DELETE, &self.place)).await {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(e),
        }
    }
}
