//! The `config.json` that lies beside weights: timm's, or transformers' with its `preprocessor_config.json`.

use crate::error::FormatError;
use crate::timm::Config;
use crate::transformers;

/// Bytes of the longest file that is read; the names of 21,000 classes and their descriptions take four million.
const LONGEST: usize = 1 << 24;

/// Whether the bytes are those of a `config.json` that a `preprocessor_config.json` completes: transformers', not timm's.
pub fn wants_preprocessor(config: &[u8]) -> bool {
    transformers::is_config(config)
}

/// Reads a description of either kind; where it is transformers', with what its `preprocessor_config.json` says.
pub fn read(config: &[u8], preprocessor: Option<&[u8]>) -> Result<Config, FormatError> {
    for bytes in preprocessor.into_iter().chain([config]) {
        if bytes.len() > LONGEST {
            let what = format!("{} bytes, of at most {LONGEST}", bytes.len());
            return Err(FormatError::malformed("config.json", what));
        }
    }
    if transformers::is_config(config) {
        transformers::read(config, preprocessor)
    } else {
        Config::read(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_beyond_the_limit_is_refused_whatever_it_is() {
        let long = vec![b' '; LONGEST + 1];
        let timm = br#"{"architecture": "vgg16"}"#;
        for (config, preprocessor) in [(&long[..], None), (&timm[..], Some(&long[..]))] {
            let error = read(config, preprocessor).unwrap_err();
            assert!(matches!(error, FormatError::Malformed { .. }), "{error}");
            assert!(error.to_string().contains("of at most 16777216"), "{error}");
        }
    }

    #[test]
    fn either_kind_is_told_by_what_it_says() {
        let timm = br#"{"architecture": "vgg16"}"#;
        let other =
            br#"{"architectures": ["ResNetForImageClassification"], "model_type": "resnet"}"#;
        assert!(!wants_preprocessor(timm) && wants_preprocessor(other));
        assert_eq!(read(timm, None).unwrap().architecture, "vgg16");
        assert_eq!(read(other, None).unwrap().architecture, "resnet50");
    }
}
